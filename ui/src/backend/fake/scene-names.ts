/** The simulated states that can be asked for, as `?fake=NAME` in a browser. */
export const sceneNames = [
  'ready',
  'empty',
  'trouble',
  'first-start',
  'gpu',
  'gpus',
  'mac',
  'many',
  'names',
  'hybrid',
  'offline',
  'unauthorized',
] as const;
export type Scene = (typeof sceneNames)[number];

/** Scenes on the simulated Mac. */
export const isMac = (scene: Scene): boolean => scene === 'mac' || hasMany(scene);

/** Scenes with some sixty models on three servers; in `names` they are called what models really are called, and worse. */
export const hasMany = (scene: Scene): boolean => scene === 'many' || hasRoles(scene);

/** Of them those with scenes in the settings, and one of these in force. */
export const hasRoles = (scene: Scene): boolean => scene === 'hybrid' || scene === 'names';
