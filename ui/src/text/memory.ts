/** Words of the page Memory. */
import type { Certainty } from '../api/Certainty';
import type { TenantKind } from '../api/TenantKind';

/** Who holds a part of the memory, in one word, and what that means. */
export const tenantKinds: Record<TenantKind, { word: string; meaning: string }> = {
  instance: { word: 'Models', meaning: 'Models in memory: weights, caches and buffers' },
  mapped_files: { word: 'Files', meaning: 'Files that loaded models read through the page cache' },
  server: { word: 'Servers', meaning: 'What servers use beside their models' },
  orphan: { word: 'Left over', meaning: 'Processes with a model whose Ollama has died' },
  containers: { word: 'Containers', meaning: 'Docker containers' },
  pilothouse: { word: 'Pilothouse', meaning: 'Pilothouse itself' },
  other: { word: 'Other', meaning: 'The system and all other programs' },
};

/** How well a figure of the ledger is known; its source follows. */
export const certainties: Record<Certainty, string> = {
  measured: 'measured',
  reported: 'reported by the server',
  estimated: 'estimated',
  remainder: 'what remains',
};

export const memory = {
  title: 'Memory',
  freeForModels: (size: string) => `${size} free for models`,
  nothingFree: 'nothing free for models',
  more: 'What fits',
  none: 'The memory has not been read yet.',
  noneHint: 'The first reading comes within a few seconds.',
  barOf: (title: string) => `${title}, who holds it`,
  tableOf: (title: string) => `${title}, table`,
  partOf: (part: string, size: string) => `${part}: ${size}`,
  shareOf: (size: string, share: string, whole: string) => `${size}, ${share} of ${whole}`,
  on: (server: string) => `on ${server}`,
  choose: 'Choose a part to see where its number comes from.',
  unit: 'GB',
  part: 'Part',
  size: 'Size',
  share: 'Share',
  source: 'Where the number comes from',
  total: 'Total',
  totalSource: 'as the system tells it; the parts above add up to it',
  pools: 'Who holds it',
  mainMemory: 'Memory of the machine',
  forModels: 'models are placed here',
  parts: {
    free: { title: 'Free for models', source: 'the ceiling less what is in use and the reserve' },
    reserve: { title: 'Reserve', source: 'kept free for what else wants memory in the next moment' },
    beyond: { title: 'Beyond the ceiling', source: 'free, but not for models' },
    forecast: { title: 'Would be needed', source: 'reckoned before loading, not measured' },
  },
  free: { title: 'Free', source: 'the total less all parts' },
  beyondSource: (ceiling: string) => `free, but models may not take it: ${ceiling}`,
  sum: {
    title: 'What models may take',
    ceiling: 'Ceiling',
    inUse: 'less in use',
    inUseSource: 'what nobody can take any more',
    reserve: 'less reserve',
    left: 'free for models',
    leftSource: 'what one more model may take now',
    over: 'over',
    overSource: 'more is in use than ceiling and reserve allow: nothing is free',
  },
  unknown: 'Not in these figures',
} as const;
