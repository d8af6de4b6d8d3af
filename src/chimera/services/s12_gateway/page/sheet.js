// Sections of small tables. Cells are text (never HTML); a cell may lead somewhere.
export default {
  template: `
    <div class="sheet" role="region" :aria-label="label">
      <section v-for="(section, s) in sections" :key="section.title + s" :aria-label="section.title || null">
        <h3 v-if="section.title">{{ section.title }} <small v-if="section.note">{{ section.note }}</small></h3>
        <div v-if="section.rows.length" class="sheet-scroll">
          <table class="lt" :class="section.style">
            <thead v-if="section.columns.some((column) => column.label)">
              <tr>
                <th v-for="(column, i) in section.columns" :key="i" :class="column.align" :title="column.hint || null" scope="col">{{ column.label }}</th>
              </tr>
            </thead>
            <tbody>
              <tr v-for="row in section.rows" :key="row.key" :class="row.tone">
                <td v-for="(cell, i) in row.cells" :key="i" :class="[section.columns[i].align, cell.c]" :title="cell.h || null">
                  <a v-if="cell.a" :href="cell.a">{{ cell.t }}</a>
                  <template v-else>{{ cell.t }}</template>
                  <small v-if="cell.s">{{ cell.s }}</small>
                </td>
              </tr>
            </tbody>
          </table>
        </div>
        <p v-else-if="section.empty" class="lt-empty">{{ section.empty }}</p>
      </section>
    </div>
  `,
  props: { label: String, sections: Array },
};
