import { StrictMode, useRef, useState, version } from "react";
import { createRoot } from "react-dom/client";
import { PhotoProcessor } from "@photoproc/PhotoProcessor.jsx";

const asked = new URLSearchParams(location.search);
const endpoint = asked.get("endpoint") ?? "http://localhost:8501/api/v1";

function App() {
  const processor = useRef(null);
  const [done, setDone] = useState(0);
  const [said, setSaid] = useState("Nothing yet");
  return (
    <main>
      <h1>React {version}</h1>
      <p role="status">{said}</p>
      <p>{done} finished</p>
      <PhotoProcessor
        ref={processor}
        className="processor"
        style={{ "--pp-accent": "#7a3e9d", maxWidth: 1100 }}
        endpoint={endpoint}
        apiKey={asked.get("key")}
        models={["u2netp"]}
        theme="light"
        onProgress={({ job }) => job && setDone(job.counts.done)}
        onDone={({ job }) => setSaid(`The job is ${job.state}`)}
        onError={({ message }) => setSaid(`Error: ${message}`)}
      />
      <button type="button" onClick={() => processor.current.start()}>Start from React</button>
    </main>
  );
}

createRoot(document.getElementById("app")).render(<StrictMode><App /></StrictMode>);
