"""What tests make: traces that say what every trace of a walk says, and a walk of moments."""

SAID = {
    **dict.fromkeys(("plan_hash", "dataset_hash", "final_state_hash"), "0" * 16),
    **dict.fromkeys(("training_images", "evaluation_images"), 100),
    **dict.fromkeys(("steps_in_epoch", "parameters", "threads"), 1),
    "dataset_description": "made for a test",
    "device": "CPU",
    "started": "2026-11-25T15:00:00+00:00",
    "wall_seconds": 1.0,
}

FIELDS = {
    "model": "mlp",
    "dataset": "mnist5k",
    "width": 0.05,
    "training_images": 60,
    "batch_size": 20,
    "evaluation_batch_size": 20,
}
