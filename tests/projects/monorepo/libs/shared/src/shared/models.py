from langchain_core.language_models.fake_chat_models import FakeListChatModel

model = FakeListChatModel(responses=["How can I help?"])
