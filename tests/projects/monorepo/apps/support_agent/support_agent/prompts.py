PROMPT = "You are a helpful agent."
