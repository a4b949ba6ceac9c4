/** Scenes as files: one as JSON, `{name, roles}`, as the settings file has them. */
import type { KvType } from '../api/KvType';
import type { Priority } from '../api/Priority';
import { sceneImport as words } from '../text';
import type { Roles } from './draft';
import { kvTypes, priorities, wrongScene } from './rules';

/** A file is small; one that is not is none of these. */
export const MOST_BYTES = 256 * 1024;

export function fileText(name: string, roles: Readonly<Roles>): string {
  return `${JSON.stringify({ name, roles }, null, 2)}\n`;
}

/** What it is saved as: what no file system minds. */
export function fileName(name: string): string {
  const plain = name.replace(/[^\p{L}\p{N} ._()-]+/gu, '-').replace(/^[. ]+|[. ]+$/g, '');
  return `${plain === '' ? 'scene' : plain}.json`;
}

/** The scene, or what is wrong and where. */
export type Read = { name: string; roles: Roles } | { wrong: string };

const isTable = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export function readScene(text: string): Read {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { wrong: words.notJson };
  }
  if (!isTable(value) || !isTable(value.roles)) return { wrong: words.notScene };
  const { name, roles, ...rest } = value;
  const strange = Object.keys(rest)[0];
  if (strange !== undefined) return { wrong: words.unknown(strange) };
  if (typeof name !== 'string') return { wrong: words.noName };
  const read: Roles = {};
  for (const [role, settings] of Object.entries(roles)) {
    const one = readRole(role, settings);
    if ('wrong' in one) return one;
    read[role] = one.settings;
  }
  const wrong = wrongScene(name, read);
  return wrong === null ? { name, roles: read } : { wrong: words.notAllowed(wrong.key, wrong.allowed) };
}

function readRole(role: string, value: unknown): { settings: Roles[string] } | { wrong: string } {
  if (!isTable(value)) return { wrong: words.kind(`roles.${role}`, words.kinds.table) };
  const { server, model, context, parallel, kv_type, pinned = false, priority = 'normal', idle_s, ...rest } = value;
  const strange = Object.keys(rest)[0];
  if (strange !== undefined) return { wrong: words.unknown(`roles.${role}.${strange}`) };
  const at = (field: string) => `roles.${role}.${field}`;
  for (const [field, text] of Object.entries({ server, model }))
    if (typeof text !== 'string') return { wrong: words.kind(at(field), words.kinds.text) };
  for (const [field, number] of Object.entries({ context, parallel, idle_s }))
    if (number !== undefined && typeof number !== 'number') return { wrong: words.kind(at(field), words.kinds.number) };
  if (typeof pinned !== 'boolean') return { wrong: words.kind(at('pinned'), words.kinds.flag) };
  if (!priorities.includes(priority as Priority))
    return { wrong: words.kind(at('priority'), words.kinds.oneOf(priorities)) };
  if (kv_type !== undefined && !kvTypes.includes(kv_type as KvType))
    return { wrong: words.kind(at('kv_type'), words.kinds.oneOf(kvTypes)) };
  return {
    settings: {
      ...{ server: server as string, model: model as string, pinned, priority: priority as Priority },
      ...(context !== undefined && { context: context as number }),
      ...(parallel !== undefined && { parallel: parallel as number }),
      ...(kv_type !== undefined && { kv_type: kv_type as KvType }),
      ...(idle_s !== undefined && { idle_s: idle_s as number }),
    },
  };
}
