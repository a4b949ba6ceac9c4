/** Words of the page History. */

export const history = {
  title: 'History',
  model: 'Model name',
  server: 'Server',
  all: 'All servers',
  over: 'Decode over time',
  overMeaning: 'One plot per model and server; dots are medians, lines their intervals.',
  loading: 'Reading history',
  onePoint: 'A second run of the same model draws a line in time.',
};
