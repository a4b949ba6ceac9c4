/** Words of the gauges. */
import type { Span } from '../series';

export const gauges = {
  title: 'Gauges',
  spans: {
    '15m': { button: '15 min', window: 'last 15 minutes' },
    '1h': { button: '1 h', window: 'last hour, 10 s means' },
    '24h': { button: '24 h', window: 'last 24 hours, 1 min means' },
    '30d': { button: '30 d', window: 'last 30 days, 30 min means' },
  } satisfies Record<Span, { button: string; window: string }>,
  span: 'How far back',
  bandMeaning: 'Line: means; band: least to greatest sample',
  now: 'now',
  switchedTo: (model: string) => `switch to ${model}`,
  becameReady: (server: string) => `${server} became ready`,
  /** How far back there is anything, where that is less than was asked for. */
  lastOnly: (time: string) => `last ${time}`,
  power: 'GPU power',
  powerShort: 'Power',
  cpu: 'CPU',
  memory: 'Memory',
  swap: 'Swap',
  gpu: 'GPU',
  gpuMemory: 'GPU memory',
  serversMemory: 'Servers',
  cores: (n: number) => `${n} cores`,
  of: (title: string, total: string) => `${title} of ${total}`,
  /** The engine's reason is a whole phrase ("no GPU found: …"). */
  noGpu: (reason: string | null) => reason ?? 'no GPU found',
  own: (cpu: string, memory: string) => `Pilothouse itself: ${cpu} CPU, ${memory}`,
  ownMeaning: 'CPU: 100 % is one core fully used.',
  none: 'No sample yet',
  noneHint: 'The first one comes within a few seconds.',
  stale: (age: string) => `from ${age}`,
  notRead: 'The system did not tell this value',
  /** Under the gauges, one line per GPU. */
  gpuLine: {
    powerOf: (power: string, limit: string) => `${power} of ${limit}`,
    slowed: (reasons: string[]) => `slowed: ${reasons.join(', ')}`,
    /** Two cards of one name. */
    numbered: (name: string, number: number) => `${name} (${number})`,
    missing: (readings: string[], reason: string) => `${readings.join(', ')} not reported: ${reason}`,
    power: 'power',
    temperature: 'temperature',
    clock: 'clock',
    driverSilent: 'the driver does not tell it',
  },
  active: (percent: string) => `at work ${percent} of the time, at whatever clock`,
  shared: 'part of the memory of the machine',
  pressure: { warning: 'getting short', critical: 'short' },
  source: {
    cpu: 'All cores together, from the operating system',
    memory: 'Used memory, from the operating system',
    swap: 'Used swap, from the operating system',
    servers: 'Process trees of all servers together',
  },
};
