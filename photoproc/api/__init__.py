"""The HTTP door onto `PhotoService`: thin routes, and nothing that decides anything."""
