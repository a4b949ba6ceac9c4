/** Words around the pages: names, keys, notices. */

export const app = {
  name: 'Pilothouse',
  pages: {
    now: 'Now',
    models: 'Models',
    servers: 'Servers',
    memory: 'Memory',
    benchmarks: 'Benchmarks',
    history: 'History',
    log: 'Log',
  },
  sections: 'Sections',
  toContent: 'Skip to content',
  connecting: 'Asking Pilothouse for its state',
  offline: 'Pilothouse does not answer',
  offlineStill: (at: string) => `What you see is from ${at} and may have changed.`,
  offlineHint: 'Start the app, or run “pilothouse serve”. This page goes on by itself.',
  cancel: 'Cancel',
  dismiss: 'Dismiss',
  dismissAll: 'Dismiss all',
  copy: 'Copy',
  copied: 'Copied',
  failed: 'Not copied',
  back: 'Back',
  notReported: 'not reported',
  keys: 'Keys',
  close: 'Close',
} as const;

export const keys: [string, string][] = [
  ['/', 'Filter this page'],
  ['↑ ↓', 'Move in the list'],
  ['Enter', 'Switch to the model'],
  ['Esc', 'Clear the filter, close this'],
  ['1 – 7', 'Go to a section'],
  ['?', 'Show these keys'],
];

export const unauthorized = {
  title: 'This address has no valid token',
  body: 'Pilothouse shows itself only to those who can run its commands on this machine. The token in the address is missing, or Pilothouse has been started again since.',
  how: 'For a fresh address, run',
  command: 'pilothouse status',
  then: 'It prints the address of this page with a new token.',
};

export const notices = {
  title: 'Notices',
  trouble: 'Trouble in Pilothouse',
  more: (n: number) => (n === 1 ? '1 more' : `${n} more`),
};
