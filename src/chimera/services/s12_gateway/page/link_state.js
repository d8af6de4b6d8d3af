// Says when the figures stop coming, whatever the cause, and tells the server whether anybody looks.
const GRACE_S = 4;
export default {
  template: `
    <div v-if="silent_s > 0" class="bar link-lost" role="alert">
      <b>CONNECTION LOST</b>
      <span>These figures are {{ silent_s }} s old. Trying again. Stops that were placed rest at the exchange.</span>
    </div>
  `,
  props: { beat: Number },
  data() {
    return { heard_at: Date.now(), silent_s: 0 };
  },
  watch: {
    beat() {
      this.heard_at = Date.now();
      this.look();
    },
  },
  mounted() {
    this.timer = setInterval(this.look, 1000);
    document.addEventListener("visibilitychange", this.seen);
  },
  unmounted() {
    clearInterval(this.timer);
    document.removeEventListener("visibilitychange", this.seen);
  },
  methods: {
    look() {
      if (document.hidden) return;
      const silent_s = Math.floor((Date.now() - this.heard_at) / 1000);
      this.silent_s = silent_s >= GRACE_S ? silent_s : 0;
      document.documentElement.dataset.link = this.silent_s ? "lost" : "ok";
    },
    seen() {
      if (!document.hidden) this.heard_at = Date.now();
      this.$emit("seen", !document.hidden);
    },
  },
};
