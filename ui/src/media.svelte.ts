/** Whether a media query holds, followed while a component lives. */
export class Media {
  matches = $state(false);

  constructor(query: string) {
    $effect(() => {
      const list = matchMedia(query);
      const update = () => (this.matches = list.matches);
      update();
      list.addEventListener('change', update);
      return () => list.removeEventListener('change', update);
    });
  }
}
