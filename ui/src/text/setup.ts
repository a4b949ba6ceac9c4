/** Words of the first start. */

export const setup = {
  title: 'Nothing can answer yet',
  titleServer: 'No model yet',
  intro: 'What was found on this machine:',
  llamaServer: 'llama-server',
  model: 'A model for it',
  found: 'found',
  missing: 'not found',
  modelMissing: 'none yet',
  machine: 'Machine',
  containers: 'Containers',
  running: (n: number) => `${n} found`,
  button: 'Fetch llama-server and a small model (158 MB)',
  what: 'llama-server (65 MB) and SmolLM2 135M (93 MB, Apache-2.0) are checked against known hashes and stay in Pilothouse’s own folder.',
  fromSource: 'Build llama-server from source instead',
  progress: (done: string, total: string) => `${done} of ${total}`,
  progressOpen: (done: string) => `${done} so far`,
  started: 'Starting',
};
