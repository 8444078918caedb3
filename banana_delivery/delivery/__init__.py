"""What assets, sensors and the command line do alike: hold an environment, shift traffic, restore it, keep the log."""
