// Tells the server which theme is on, for what cannot follow by colours alone.
export default {
  template: `<span hidden></span>`,
  mounted() {
    const root = document.documentElement;
    const tell = () => this.$emit("theme", root.dataset.theme);
    this.observer = new MutationObserver(tell);
    this.observer.observe(root, { attributes: true, attributeFilter: ["data-theme"] });
    tell();
  },
  unmounted() {
    this.observer.disconnect();
  },
};
