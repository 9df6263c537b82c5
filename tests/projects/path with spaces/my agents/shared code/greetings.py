import os


def greeting() -> str:
    return os.environ["GREETING"]
