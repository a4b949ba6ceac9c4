/** Words around the pages: names, keys. */

export const app = {
  name: 'Pilothouse',
  pages: {
    now: 'Now',
    models: 'Models',
    scenes: 'Scenes',
    traffic: 'Traffic',
    memory: 'Memory',
    servers: 'Servers',
    benchmarks: 'Benchmarks',
    history: 'History',
    connect: 'Connect',
    settings: 'Settings',
    events: 'Events',
    log: 'Log',
  },
  sections: 'Sections',
  toContent: 'Skip to content',
  connecting: 'Asking Pilothouse for its state',
  pageNotFetched: 'This page could not be fetched: Pilothouse was ended or updated since it was opened.',
  reload: 'Reload',
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
  ['1 – 9, 0', 'Go to a section'],
  ['u', 'Undo, for a minute after a change'],
  ['Alt ↑ ↓', 'Move a scene in the list'],
  ['Home End', 'First and last of the list'],
  ['?', 'Show these keys'],
];

export const unauthorized = {
  title: 'This browser is not known here',
  body: 'Pilothouse shows itself only to those who can run its commands on this machine. One visit with the token is enough; from then on this browser is known, in every tab and after a restart.',
  how: 'For an address with the token, run',
  command: 'pilothouse status',
  then: 'This page goes on by itself once it was opened.',
};
