// <PhotoProcessor>: the custom element of photo-processor.js as a React component (18 and 19).
//
//   <PhotoProcessor endpoint="https://photos.example/api/v1" apiKey="…" models={["u2net"]} theme="dark"
//     onProgress={({ job }) => …} onDone={({ job }) => …} onError={({ message, advice }) => …} />
//
// Callbacks get the `detail` of the element's events. `ref` is the element: add(files), start(), cancel(), reset().

import { forwardRef, useImperativeHandle, useLayoutEffect, useRef } from "react";
import "./photo-processor.js";

export const PhotoProcessor = forwardRef(function PhotoProcessor(
  { endpoint, apiKey, models, theme, className, style, onProgress, onDone, onError },
  ref,
) {
  const node = useRef(null);
  const callbacks = useRef({});
  callbacks.current = { progress: onProgress, done: onDone, error: onError };
  useImperativeHandle(ref, () => node.current, []);

  // Set by hand: `key` is React's own word, and React 18 sets no properties of custom elements.
  const offered = Array.isArray(models) ? models.join(",") : models;
  useLayoutEffect(() => {
    Object.assign(node.current, { endpoint, key: apiKey, models: offered, theme });
  }, [endpoint, apiKey, offered, theme]);

  useLayoutEffect(() => {
    const listening = new AbortController();
    for (const name of ["progress", "done", "error"]) {
      const tell = (event) => callbacks.current[name]?.(event.detail);
      node.current.addEventListener(name, tell, { signal: listening.signal });
    }
    return () => listening.abort();
  }, []);

  return <photo-processor ref={node} class={className} style={style} />;
});

export default PhotoProcessor;
