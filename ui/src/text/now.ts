/** Words of the page Now: what is active, the switch, the prompt. */

export const now = {
  none: 'No active model',
  noneHint: 'Choose one from the list. It answers under the name “active”.',
  orphans: (count: number) =>
    count === 1 ? 'busy with an answer that nobody waits for' : `busy with ${count} answers that nobody waits for`,
  unknownServer: 'Server not known',
  gateway: 'Address',
  gatewayModel: 'Model name',
  gatewayAddress: 'Address for programs',
  toAsk: 'Ask',
  back: 'Back',
  lastAnswer: 'last answer',
  lastRun: 'last benchmark',
  firstToken: (time: string) => `first token ${time}`,
  putBack: (model: string | null, reason: string) =>
    model === null ? `Nothing is active now: ${reason}` : `Put back ${model}: ${reason}`,
  notActive: (model: string, reason: string) => `${model} could not be made active: ${reason}`,
  isActive: (model: string) => `${model} is active.`,
  cancelOf: (model: string) => `Cancel the switch to ${model}`,
  switchCancelled: (model: string) => `Switch to ${model} cancelled.`,
  doing: (phase: string, model: string, server: string) => `${phase}: ${model} on ${server}`,
  left: (eta: string) => `${eta} left`,
  takesOver: 'Choosing another model takes over.',
};

export const switching = {
  title: 'Switch',
  filter: 'Filter models',
  filterOf: (n: number) => (n === 1 ? 'Filter 1 model' : `Filter ${n} models`),
  /** Heard, not seen: "Switch to" and "on" make a sentence of what the row shows. */
  on: 'on',
  loaded: 'loaded',
  none: 'No server reports a model yet.',
  noneHint: 'Start a server, or fetch a model with it.',
  noMatch: (filter: string) => `No model matches “${filter}”.`,
  of: (n: number, all: number) => (n === all ? String(all) : `${n} of ${all}`),
  found: (n: number, all: number) => (n === all ? `${n} models` : `${n} of ${all} models`),
  doesNotFit: 'Does not fit',
  moreThanFree: (size: string) => `${size} more than is free`,
  needs: 'needs',
  about: (size: string) => `about ${size}`,
  whatFits: 'What would fit',
  whatFitsFor: (model: string) => `What would fit instead of ${model}`,
  others: 'Cannot become active',
  context: (tokens: string) => `context ${tokens}`,
};

export const tryIt = {
  title: 'Try it',
  prompt: 'Prompt',
  placeholder: 'Ask the active model',
  ask: 'Ask',
  stop: 'Stop',
  noModel: 'Nothing can answer: no model is active.',
  waiting: 'Waiting for the first token',
  by: (model: string, server: string) => `${model} on ${server}`,
  tokens: (n: number) => (n === 1 ? '1 token' : `${n} tokens`),
  stopped: 'Stopped before the end.',
  empty: 'The model answered with nothing.',
};
