PREFIX = "echo"
