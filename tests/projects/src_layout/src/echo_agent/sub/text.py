def repeated(text: str) -> str:
    return f"{text} {text}"
