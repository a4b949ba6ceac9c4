/** Pure questions about the ledger: how a pool is divided on its bar, and the arithmetic beside it. */
import type { FitReport } from './api/FitReport';
import type { Ledger } from './api/Ledger';
import type { ModelRef } from './api/ModelRef';
import type { ModelView } from './api/ModelView';
import type { Offer } from './api/Offer';
import type { Pool } from './api/Pool';
import type { Tenant } from './api/Tenant';

/** What of the free part of a pool models may take. */
export interface Room {
  headroom: number;
  reserve: number;
}

/** One part of the bar; all parts of a pool add up to its total. */
export type BarPart =
  | { key: string; kind: 'tenant'; bytes: number; tenant: Tenant }
  | { key: string; kind: 'forecast' | 'free' | 'reserve' | 'beyond'; bytes: number };

export function poolForModels(ledger: Ledger): Pool | undefined {
  return ledger.pools.find((pool) => pool.for_models);
}

/** A pool in parts: who holds it, what may be taken, what stays in reserve, and what lies beyond the ceiling. */
export function partsOf(pool: Pool, room: Room | null, forecast = 0): BarPart[] {
  const parts: BarPart[] = pool.tenants.map((tenant) => ({
    key: `${tenant.kind} ${tenant.server ?? ''} ${tenant.title}`,
    kind: 'tenant',
    bytes: tenant.bytes,
    tenant,
  }));
  let left = pool.free_bytes;
  const take = (kind: Exclude<BarPart['kind'], 'tenant'>, bytes: number) => {
    const taken = Math.min(left, Math.max(0, bytes));
    left -= taken;
    if (taken > 0) parts.push({ key: kind, kind, bytes: taken });
  };
  if (room === null) take('free', left);
  else {
    take('forecast', Math.min(forecast, room.headroom));
    take('free', room.headroom - forecast);
    take('reserve', room.reserve);
    take('beyond', left);
  }
  // Two tenants can carry the same title; a key must not.
  const seen = new Map<string, number>();
  for (const part of parts) {
    const times = seen.get(part.key) ?? 0;
    seen.set(part.key, times + 1);
    if (times > 0) part.key += ` ${times + 1}`;
  }
  return parts;
}

/** The room of a pool; `null` where no models are placed. */
export function roomOf(ledger: Ledger, pool: Pool): Room | null {
  return pool.for_models ? { headroom: ledger.headroom_bytes, reserve: ledger.reserve_bytes } : null;
}

/** The pool without the models in question: an answer reckons with them as if they were not loaded yet. */
export function without(pool: Pool, models: ModelRef[]): Pool {
  const asked = (tenant: Tenant) =>
    models.some((model) => model.server === tenant.server && model.model === tenant.model);
  const freed = pool.tenants.filter(asked).reduce((sum, tenant) => sum + tenant.bytes, 0);
  return {
    ...pool,
    tenants: pool.tenants.filter((tenant) => !asked(tenant)),
    used_bytes: pool.used_bytes - freed,
    free_bytes: pool.free_bytes + freed,
  };
}

/** What an answer reckons as free, whether or not it suffices. */
export function freeIn(report: FitReport): number {
  return Math.max(0, report.ceiling_bytes - report.used_bytes - report.reserve_bytes);
}

/** By how much a model exceeds what is free; `null`: not known. */
export function excess(model: ModelView, ledger: Ledger | null): number | null {
  const need = model.needed_bytes ?? model.size_bytes;
  return need === null || ledger === null || need <= ledger.headroom_bytes ? null : need - ledger.headroom_bytes;
}

/**
 * The ledger's sum in hundredths of a GB. What remains is taken from the rounded figures, so that the lines add up as
 * they are written.
 */
export function sumOf(ledger: Ledger): { ceiling: number; inUse: number; reserve: number; left: number } {
  const hundredths = (bytes: number) => Math.round(bytes / 1e7);
  const [ceiling, inUse, reserve] = [ledger.ceiling.bytes, ledger.in_use_bytes, ledger.reserve_bytes].map(
    hundredths,
  ) as [number, number, number];
  return { ceiling, inUse, reserve, left: ceiling - inUse - reserve };
}

/** How the models in question would be loaded; `null`: as their server does it. */
export interface Wish {
  context: number | null;
  parallel: number | null;
  kv: string | null;
}

/** What of a wish an offer changes; `null`: it is about something else, as unloading another model. */
export function wishOf({ change }: Offer): Partial<Wish> | null {
  switch (change.kind) {
    case 'context':
      return { context: change.context };
    case 'parallel':
      return { parallel: change.parallel };
    case 'kv':
      return { kv: change.kv };
    case 'quantization':
    case 'unload':
      return null;
  }
}
