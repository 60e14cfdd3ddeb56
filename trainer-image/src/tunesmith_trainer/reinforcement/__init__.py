"""The mathematics of learning from rewards, and what samples them: nothing here knows a Trainer."""
