/** Pure questions about percentiles. */
import type { Percentiles } from '../api/Percentiles';

/** From so many values on the greatest bounds the 99th percentile with confidence, as the engine has it (`MIN_FOR_P99`). */
const MIN_FOR_P99 = 299;

export function enoughForP99(percentiles: Percentiles): boolean {
  return percentiles.n >= MIN_FOR_P99;
}
