/** What all uPlot charts share: colours from the tokens, the device's font, a size that follows the box. */
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { token } from './token';

export function chartFont(): string {
  return `11px ${token('--font')}`;
}

/** Makes a chart in a box, follows the box's width and the colour scheme. Returns the chart and its end. */
export function mountChart(
  box: HTMLElement,
  options: Omit<uPlot.Options, 'width'>,
  data: uPlot.AlignedData,
): { chart: uPlot; destroy: () => void } {
  const chart = new uPlot({ ...options, width: Math.max(40, box.clientWidth) }, data, box);
  const resize = new ResizeObserver(() => {
    if (box.clientWidth > 0) chart.setSize({ width: box.clientWidth, height: options.height });
  });
  resize.observe(box);
  const scheme = matchMedia('(prefers-color-scheme: dark)');
  const redraw = () => chart.redraw(false, true);
  scheme.addEventListener('change', redraw);
  return {
    chart,
    destroy: () => {
      scheme.removeEventListener('change', redraw);
      resize.disconnect();
      chart.destroy();
    },
  };
}
