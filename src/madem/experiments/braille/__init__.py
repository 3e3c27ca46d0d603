"""The main job: Braille words on two crossbars, two tasks, one and two layers, and yardsticks."""
