/** A token's present value. Charts ask at each redraw, so that a change of scheme shows at once. */
export function token(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
