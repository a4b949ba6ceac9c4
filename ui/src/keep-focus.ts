/**
 * Keeps the keyboard where it was when what had the focus goes away with what it did, such as a button that becomes a line of words:
 * the element itself takes it then. For an element with `tabindex="-1"`.
 */
export function keepFocus(node: HTMLElement): { destroy: () => void } {
  let last: Element | null = null;
  const remember = (event: FocusEvent): void => {
    last = event.target instanceof Element ? event.target : null;
  };
  /** Whoever goes elsewhere is left alone; what goes away leaves nobody behind. */
  const forget = (event: FocusEvent): void => {
    if (event.relatedTarget !== null) last = null;
  };
  const observer = new MutationObserver(() => {
    if (last === null || last.isConnected) return;
    last = null;
    if (document.activeElement === document.body || document.activeElement === null)
      node.focus({ preventScroll: true });
  });
  node.addEventListener('focusin', remember);
  node.addEventListener('focusout', forget);
  observer.observe(node, { childList: true, subtree: true });
  return {
    destroy() {
      observer.disconnect();
      node.removeEventListener('focusin', remember);
      node.removeEventListener('focusout', forget);
    },
  };
}
