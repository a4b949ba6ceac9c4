import type { ModelRef } from '../../api/ModelRef';
import type { Reply } from '../../api/Reply';
import type { Snapshot } from '../../api/Snapshot';
import type { Scene } from './scene-names';
import type { FakeSettings } from './settings';

/** What the simulated engine lends to its parts. */
export interface Host {
  readonly scene: Scene;
  /** One step of simulated work. */
  go(): Promise<void>;
  readonly settings: FakeSettings;
  snapshot(): Snapshot;
  change(change: Partial<Snapshot>): void;
  loadTime(model: ModelRef): number | null;
  switchTo(id: string): Promise<Reply>;
}
