"""The engines that take chunks through the stages: Ray, and this process alone. Only this folder knows Ray."""
