/**
 * All words that people read, a file for each page, typed by code and state, so that a new one in the engine fails the
 * type check here until it has its words.
 */
export * from './app';
export * from './bench';
export * from './client-keys';
export * from './comparison';
export * from './connect';
export * from './containers';
export * from './events';
export * from './gaps';
export * from './gauges';
export * from './held';
export * from './history';
export * from './load-with';
export * from './log';
export * from './machine';
export * from './memory';
export * from './models';
export * from './now';
export * from './plans';
export * from './scenes';
export * from './servers';
export * from './settings';
export * from './setup';
export * from './states';
export * from './sweep';
export * from './traffic';
export * from './whatif';
