import { describe, expect, it } from 'vitest';
import type { ActiveStanding } from '../src/api/ActiveStanding';
import type { ServerStanding } from '../src/api/ServerStanding';
import type { Snapshot } from '../src/api/Snapshot';
import type { Standing } from '../src/api/Standing';
import written from '../src/api/standing-cases.json';
import { withStanding, type Circumstances } from '../src/backend/fake/standing';

interface Case {
  name: string;
  changed: unknown;
  circumstances: Circumstances;
  head: ActiveStanding;
  models: Standing[];
  servers: ServerStanding[];
}

/** Puts what is different over what was: of an object its parts, of a list its entries by their place. */
function changed(base: unknown, by: unknown): unknown {
  if (typeof by !== 'object' || by === null || Array.isArray(by) || typeof base !== 'object' || base === null)
    return by;
  const whole: Record<string, unknown> = Array.isArray(base) ? (base.slice() as never) : { ...base };
  for (const [name, part] of Object.entries(by)) whole[name] = changed(whole[name], part);
  return whole;
}

const { snapshot, cases } = written as unknown as { snapshot: Snapshot; cases: Case[] };

// Written by the engine's own tests: what the simulated engine says is what the engine says.
describe('what holds, said by the simulated engine', () => {
  it('has cases of every kind', () => {
    expect(cases.length).toBeGreaterThan(80);
    expect(new Set(cases.map(({ head }) => head.holds)).size).toBeGreaterThan(10);
    expect(new Set(cases.flatMap(({ models }) => models.map(({ holds }) => holds))).size).toBeGreaterThan(12);
  });

  it.each(cases.map((one) => [one.name, one] as const))('is what the engine says: %s', (_, one) => {
    const said = withStanding(changed(snapshot, one.changed) as Snapshot, one.circumstances);
    expect(said.standing).toEqual(one.head);
    expect(said.models.map(({ standing }) => standing)).toEqual(one.models);
    expect(said.servers.map(({ standing }) => standing)).toEqual(one.servers);
  });
});
