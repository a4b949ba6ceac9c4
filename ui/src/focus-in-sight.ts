/**
 * Keeps what has the focus in sight when something above it grows, such as a notice that comes in while somebody types.
 * WebKit has no scroll anchoring, so the window of the app would push it under the edge. Whoever scrolls away from it
 * is left alone. For an element that scrolls and whose children stand below each other.
 */
export function focusInSight(scroller: HTMLElement): { destroy: () => void } {
  let wasInSight = false;

  function focused(): Element | null {
    const element = document.activeElement;
    return element !== null && element !== scroller && scroller.contains(element) ? element : null;
  }

  function look(): void {
    const element = focused();
    if (element === null) {
      wasInSight = false;
      return;
    }
    const [inner, outer] = [element.getBoundingClientRect(), scroller.getBoundingClientRect()];
    wasInSight = inner.bottom > outer.top && inner.top < outer.bottom;
  }

  const resized = new ResizeObserver(() => {
    if (wasInSight) focused()?.scrollIntoView({ block: 'nearest' });
  });
  const observe = (): void => {
    resized.disconnect();
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
