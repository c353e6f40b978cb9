import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

// The wrapper lies outside this folder, so React is looked for from here. `--mode react18` builds with React 18.
export default defineConfig(({ mode }) => ({
  base: "./",
  resolve: {
    alias: {
      "@photoproc": fileURLToPath(new URL("../../../photoproc/web", import.meta.url)),
      ...(mode === "react18" ? { "react-dom": "react-dom-18", react: "react-18" } : {}),
    },
    dedupe: ["react", "react-dom", "react-18", "react-dom-18"],
  },
}));
