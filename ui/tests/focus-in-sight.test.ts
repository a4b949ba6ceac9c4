import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { focusInSight } from '../src/focus-in-sight';

/** What a browser would lay out: one field below a band whose height changes, in a scroller 100 pixels high. */
class Layout {
  readonly scroller = document.createElement('main');
  readonly field = document.createElement('textarea');
  band = 200;
  height = 100;
  resized: () => void = () => undefined;
  observed: Element[] = [];
  readonly scrolledIntoView = vi.fn(() => {
    const over = this.band + 50 - this.height;
    if (over > this.scroller.scrollTop) this.scroller.scrollTop = over;
  });

  constructor() {
    this.scroller.append(document.createElement('div'), this.field);
    document.body.append(this.scroller);
    Object.defineProperty(this.scroller, 'clientHeight', { get: () => this.height });
    this.scroller.getBoundingClientRect = () => new DOMRect(0, 0, 400, this.height);
    this.field.getBoundingClientRect = () => new DOMRect(0, this.band - this.scroller.scrollTop, 400, 50);
    this.field.scrollIntoView = this.scrolledIntoView;
    const layout = this;
    vi.stubGlobal(
      'ResizeObserver',
      class {
        constructor(callback: () => void) {
          layout.resized = callback;
        }
        observe(element: Element): void {
          layout.observed.push(element);
        }
        disconnect(): void {
          layout.observed = [];
        }
      },
    );
  }

  scrollTo(top: number): void {
    this.scroller.scrollTop = top;
    this.scroller.dispatchEvent(new Event('scroll'));
  }
}

describe('the element with the focus', () => {
  let layout: Layout;
  let watch: { destroy: () => void };

  beforeEach(() => {
    layout = new Layout();
    watch = focusInSight(layout.scroller);
    layout.scrollTo(150);
    layout.field.focus();
  });

  afterEach(() => {
    watch.destroy();
    layout.scroller.remove();
    vi.unstubAllGlobals();
  });

  it('comes back into sight when something above it grows', () => {
    layout.band = 320;
    layout.resized();
    expect(layout.scroller.scrollTop).toBe(270);
  });

  it('comes back when a scroll is told after something above it has grown', () => {
    layout.band = 320;
    layout.scrollTo(155);
    layout.resized();
    expect(layout.scroller.scrollTop).toBe(270);
  });

  it('comes back when there is less room to see it in', () => {
    expect(layout.observed).toContain(layout.scroller);
    layout.height = 70;
    layout.resized();
    expect(layout.scroller.scrollTop).toBe(180);
  });

  it('stays out of sight when somebody has scrolled away from it', () => {
    layout.scrollTo(0);
    layout.band = 220;
    layout.resized();
    expect(layout.scrolledIntoView).not.toHaveBeenCalled();
  });

  it('is any element of the scroller, and nothing is done without one', () => {
    layout.field.blur();
    layout.band = 320;
    layout.resized();
    expect(layout.scrolledIntoView).not.toHaveBeenCalled();
  });
});
