package process

// Main becomes the jail when this process was started as one, and returns at
// once when it was not. It must be the first call of main.
func Main() {}
