/** The simulated states that can be asked for, as `?fake=NAME` in a browser. */
export const sceneNames = [
  'ready',
  'empty',
  'trouble',
  'first-start',
  'gpu',
  'gpus',
  'mac',
  'offline',
  'unauthorized',
] as const;
export type Scene = (typeof sceneNames)[number];
