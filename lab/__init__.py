"""What measures the program and tries to break it: `lab.bench` and `lab.campaign`."""
