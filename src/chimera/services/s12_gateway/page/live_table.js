// A dense table that changes in place: rows are keyed, cells are text (never HTML), and a row may be opened.
// What stands in an opened row is asked for once, when it is opened. A cell may have buttons of its own.
export default {
  template: `
    <div class="lt-scroll" tabindex="0" role="region" :aria-label="label">
      <table class="lt">
        <thead v-if="rows.length">
          <tr>
            <th v-for="(column, i) in columns" :key="i" :class="column.align" :title="column.hint" scope="col">{{ column.label }}</th>
          </tr>
        </thead>
        <tbody v-for="row in rows" :key="row.key" :class="row.tone">
          <tr :class="{ opens: expandable || pickable, opened: opened[row.key], picked: pickable && row.key === picked }"
            :aria-selected="pickable ? row.key === picked : null" @click="chosen(row.key)">
            <td v-for="(cell, i) in row.cells" :key="i" :class="[columns[i].align, cell.c]" :title="cell.h">
              <button v-if="expandable && i === 0" class="lt-toggle" :aria-expanded="!!opened[row.key]"
                aria-label="details" @click.stop="toggle(row.key)">{{ opened[row.key] ? "▾" : "▸" }}</button>
              <button v-if="pickable && i === 0" class="lt-pick" @click.stop="chosen(row.key)">{{ cell.t }}</button>
              <span v-if="cell.bar" class="between" role="img"
                :aria-label="'mark at ' + Math.round(cell.bar.mark * 100) + ' percent of the way from stop to target'">
                <i class="won" :style="way(cell.bar)" :class="{ lost: cell.bar.mark < cell.bar.entry }"></i>
                <i class="entry" :style="{ left: cell.bar.entry * 100 + '%' }"></i>
                <i class="mark" :style="{ left: cell.bar.mark * 100 + '%' }"></i>
              </span>
              <template v-else-if="!pickable || i > 0">{{ cell.t }}</template>
              <small v-if="cell.s">{{ cell.s }}</small>
              <span v-if="cell.acts" class="acts">
                <button v-for="act in cell.acts" :key="act.k" :class="act.c" :title="act.h || null" :aria-label="act.t + ' ' + act.of"
                  @click.stop="$emit('acts', [row.key, act.k])">{{ act.t }}</button>
              </span>
            </td>
          </tr>
          <tr v-if="opened[row.key]" class="lt-detail">
            <td :colspan="columns.length">
              <p v-if="!details[row.key]">…</p>
              <section v-for="section in details[row.key]" :key="section.title">
                <h4 v-if="section.title">{{ section.title }}</h4>
                <dl>
                  <div v-for="line in section.lines" :key="line.n" :class="line.c">
                    <dt>{{ line.n }}</dt>
                    <dd><a v-if="line.a" :href="line.a">{{ line.t }}</a><template v-else>{{ line.t }}</template></dd>
                  </div>
                </dl>
              </section>
            </td>
          </tr>
        </tbody>
      </table>
      <p v-if="!rows.length" class="lt-empty">{{ empty }}</p>
    </div>
  `,
  props: { label: String, columns: Array, rows: Array, empty: String, expandable: Boolean, pickable: Boolean, picked: String },
  data() {
    return { opened: {}, details: {} };
  },
  methods: {
    chosen(key) {
      if (this.expandable) this.toggle(key);
      else if (this.pickable) this.$emit("picks", key);
    },
    toggle(key) {
      this.opened[key] = !this.opened[key];
      if (this.opened[key] && !this.details[key]) this.$emit("opened", key);
    },
    show_detail(key, sections) {
      this.details[key] = sections;
    },
    way(bar) {
      const from = Math.min(bar.entry, bar.mark);
      return { left: from * 100 + "%", width: Math.abs(bar.mark - bar.entry) * 100 + "%" };
    },
  },
};
