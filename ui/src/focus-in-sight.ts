/**
 * Keeps what has the focus in sight when something above it grows, such as a notice that comes in while somebody types.
 * WebKit has no scroll anchoring, so the window of the app would push it under the edge. Whoever scrolls away from it
 * is left alone. For an element that scrolls and whose children stand below each other.
 */
export function focusInSight(scroller: HTMLElement): { destroy: () => void } {
  let wasInSight = false;
  /** The element that has the focus, and where it stood in the content when sizes were last known to be settled. */
  let settled: { element: Element; top: number; height: number } | null = null;

  function focused(): Element | null {
    const element = document.activeElement;
    return element !== null && element !== scroller && scroller.contains(element) ? element : null;
  }

  function settle(): void {
    const element = focused();
    if (element === null) {
      settled = null;
      return;
    }
    const [inner, outer] = [element.getBoundingClientRect(), scroller.getBoundingClientRect()];
    settled = { element, top: inner.top - outer.top + scroller.scrollTop, height: inner.height };
  }

  // A scroll is told in the next frame, where something may already have grown as well: only a scroll may put the
  // focus out of sight on purpose, so it is judged by where things stood before.
  function look(): void {
    if (settled === null || settled.element !== focused()) settle();
    if (settled === null) {
      wasInSight = false;
      return;
    }
    const top = settled.top - scroller.scrollTop;
    wasInSight = top + settled.height > 0 && top < scroller.clientHeight;
  }

  const resized = new ResizeObserver(() => {
    if (wasInSight) focused()?.scrollIntoView({ block: 'nearest' });
    settle();
  });
  const observe = (): void => {
    resized.disconnect();
    // The scroller too: a footer that takes one more line leaves less of it.
    resized.observe(scroller);
    for (const child of scroller.children) resized.observe(child);
  };
  const changed = new MutationObserver(observe);
  observe();
  changed.observe(scroller, { childList: true });
  scroller.addEventListener('scroll', look, { passive: true });
  scroller.addEventListener('focusin', look);
  return {
    destroy() {
      resized.disconnect();
      changed.disconnect();
      scroller.removeEventListener('scroll', look);
      scroller.removeEventListener('focusin', look);
    },
  };
}
