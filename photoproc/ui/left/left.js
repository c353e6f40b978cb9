// Tells which upload this tab remembers, if any (trigger `batch`): the strip has it do so.

const told = new WeakSet();

export default function ({ parentElement, setTriggerValue }) {
  const batch = forTab("photoproc-upload");
  if (!batch || told.has(parentElement)) return;
  told.add(parentElement);
  setTriggerValue("batch", batch);
}
