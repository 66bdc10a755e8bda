"""The paper, one file a figure family: settings, walks, numbers, picture and claims."""
