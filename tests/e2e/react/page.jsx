// A chat as an application has it, on the official hook. What it is for comes by the query.
import { useMessageMetadata, useStream } from "@langchain/react";
import { useState } from "react";
import { createRoot } from "react-dom/client";

const query = new URLSearchParams(location.search);

function Message({ stream, message }) {
  const metadata = useMessageMetadata(stream, message.id);
  const fork = () =>
    stream.submit(
      { messages: [{ type: "human", content: "edited" }] },
      { forkFrom: metadata.parentCheckpointId },
    );
  return (
    <li className={message.type}>
      {message.text}
      {message.type === "human" && metadata?.parentCheckpointId && (
        <button className="edit" onClick={fork}>
          edit
        </button>
      )}
    </li>
  );
}

function Chat() {
  const [threadId, setThreadId] = useState(query.get("thread"));
  const stream = useStream({
    apiUrl: query.get("api"),
    assistantId: query.get("assistant"),
    transport: query.get("transport"),
    threadId,
    onThreadId: (id) => {
      setThreadId(id);
      query.set("thread", id);
      history.replaceState(null, "", `?${query}`);
    },
  });
  const send = () => stream.submit(JSON.parse(query.get("input")));
  return (
    <main>
      <p id="state">{stream.isLoading ? "loading" : "idle"}</p>
      <p id="error">{stream.error ? String(stream.error) : ""}</p>
      <ul>
        {stream.messages.map((message) => (
          <Message key={message.id} stream={stream} message={message} />
        ))}
      </ul>
      <ol>
        {stream.toolCalls.map((call) => (
          <li key={call.callId ?? call.id}>
            {call.name}: {JSON.stringify(call.output)}
          </li>
        ))}
      </ol>
      <pre id="values">{JSON.stringify(stream.values)}</pre>
      <pre id="interrupt">{JSON.stringify(stream.interrupt?.value ?? null)}</pre>
      <button id="send" onClick={send}>send</button>
      <button id="stop" onClick={() => stream.stop()}>stop</button>
      <button id="answer" onClick={() => stream.respond("yes")}>answer</button>
    </main>
  );
}

createRoot(document.getElementById("root")).render(<Chat />);
