/** Words of the page Log. */

export const log = {
  title: 'Log',
  server: 'Server',
  search: 'Search lines',
  follow: 'Follow',
  none: 'No line yet.',
  noMatch: 'No line of these contains that.',
  earlier: 'Search earlier days too',
  found: (n: number) => (n === 0 ? 'No line of any day contains that.' : n === 1 ? '1 line found' : `${n} lines found`),
  matches: 'Lines found',
  noServer: 'There is no server to show a log of.',
  lines: 'Lines',
  loading: 'Reading the log',
};
