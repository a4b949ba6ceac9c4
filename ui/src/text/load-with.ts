/** Words of “Load with …”. */
import type { Offer } from '../api/Offer';
import { dotted, whole } from '../format';

export const loadWith = {
  act: 'Load with …',
  actOf: (title: string, server: string) => `Load with … (${title} on ${server})`,
  title: (title: string) => `Load ${title} with …`,
  notTaken: (server: string) => `${server} loads every model with its own settings.`,
  fields: { context: 'Context, tokens', parallel: 'Requests at a time', kv: 'KV cache in' },
  usual: 'as usual',
  usualOf: (n: number) => `as usual, ${whole(n)}`,
  usualKv: (kv: string) => `as usual, ${kv}`,
  wrong: (allowed: string) => `Allowed: ${allowed}`,
  trainedFor: (most: number) => `up to ${whole(most)}, what it was trained for`,
  now: (context: number | null, slots: number | null) =>
    `In memory now with ${dotted(
      context === null ? null : `${whole(context)} tokens`,
      slots === null ? null : `${slots} at a time`,
    )}.`,
  reckoning: 'Reckoning',
  mend: 'Mend what is marked above.',
  fits: 'It fits.',
  unknown: 'What it takes is not known; it is tried.',
  loadedSo: 'It is loaded so already.',
  again: 'It is loaded again; requests wait meanwhile.',
  leaves: (title: string) => `${title} leaves memory.`,
  needs: (size: string) => `Needs about ${size}`,
  left: (size: string) => `${size} would stay free`,
  lacks: (size: string) => `${size} more than is free`,
  offers: 'What would make it fit',
  /** As a button says it. */
  offer: ({ what }: Offer) => what.charAt(0).toUpperCase() + what.slice(1),
  load: 'Load',
  loadIn: (time: string) => `Load, ${time}`,
};
