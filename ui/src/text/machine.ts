/** Words for the machine. */
import type { MemoryKind } from '../api/MemoryKind';

/** How GPU and processor share memory. */
export const memoryKinds: Record<MemoryKind, string> = {
  unified: 'shared by processor and GPU',
  separate: 'of the processor',
};

export const machine = {
  title: 'Machine',
  loading: 'Reading the machine',
  model: 'Model',
  chip: 'Chip',
  cores: 'Cores',
  performance: (n: number) => `${n} performance`,
  efficiency: (n: number) => `${n} efficiency`,
  allCores: (n: number) => `${n}, all alike`,
  memory: 'Memory',
  bandwidth: 'Bandwidth',
  rate: (figure: string) => `${figure} GB/s`,
  gpu: 'GPU',
  gpuCores: (n: number) => `${n} cores`,
  gpuMemory: (size: string) => `${size} of its own`,
  compute: (capability: string) => `compute capability ${capability}`,
  driverIs: (driver: string) => `driver ${driver}`,
  limit: 'GPU limit',
  limitSource: 'set by iogpu.wired_limit_mb',
  neural: 'Neural Engine',
  neuralUse: 'not used by the servers',
  metal: 'Metal',
  os: 'System',
  driver: 'GPU driver',
  noGpu: 'none found',
  notTold: 'The system did not tell it',
} as const;
