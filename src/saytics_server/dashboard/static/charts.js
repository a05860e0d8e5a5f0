// Draws the charts: reads the finished numbers a figure carries and hands them to ECharts.
// Everything written into a chart goes in as text, never as markup: labels may be strangers' words.
(() => {
  "use strict";

  const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
  const darkScheme = matchMedia("(prefers-color-scheme: dark)");

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const inFull = (value) => value.toLocaleString();
  const UNITS = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];
  // As the server shortens: 12.4 k, with the reader's decimal sign.
  const inShort = (value) => {
    const [scale, unit] = UNITS.find(([from]) => value >= from) ?? [1, ""];
    return (value / scale).toLocaleString(undefined, { maximumFractionDigits: 1 }) + (unit && `\u202f${unit}`);
  };

  const inPercent = (share) => share.toLocaleString(undefined, { style: "percent", maximumFractionDigits: 1 });
  // Lines are told apart by their marks too, never by colour alone.
  const MARKS = ["circle", "rect", "triangle", "diamond", "emptyCircle", "emptyRect", "emptyTriangle", "emptyDiamond"];
  // A tooltip of more lines hides the chart it explains.
  const TOLD_MAX = 12;
  const lineColour = (line) => colour(`series-${line.quiet ? 9 : (line.colour - 1) % 8 + 1}`);

  function cell(row, text, kind) {
    const box = row.appendChild(document.createElement("span"));
    box.className = kind;
    box.textContent = text;
    return box;
  }

  // Every line at a point, the largest first, each with its share where they make a whole.
  function tooltip(chart, index) {
    const box = document.createElement("div");
    box.className = "tooltip";
    const head = box.appendChild(document.createElement("div"));
    head.textContent = chart.labels[index] + (chart.running.includes(index) ? ", still running" : "");
    const told = chart.lines.filter((line) => line.values[index] !== null);
    if (chart.kind !== "stack") told.sort((one, other) => other.values[index] - one.values[index]);
    for (const line of told.slice(0, TOLD_MAX)) {
      const value = line.values[index];
      const row = box.appendChild(document.createElement("div"));
      row.className = "tooltip-row";
      if (chart.lines.length > 1) {
        cell(row, "", "swatch").style.background = lineColour(line);
        cell(row, line.name, "tooltip-name");
      }
      const number = row.appendChild(document.createElement("strong"));
      number.textContent = chart.is_share ? inPercent(value) : inFull(value);
      if (chart.lines.length === 1 && !chart.is_share) row.append(` ${chart.units[value === 1 ? 0 : 1]}`);
    }
    if (told.length > TOLD_MAX) cell(box, `and ${told.length - TOLD_MAX} more in the table`, "muted");
    return box;
  }

  function bars(chart) {
    const hatch = { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [2, 3], rotation: -Math.PI / 4, color: colour("surface") };
    const stacked = chart.kind === "stack";
    return chart.lines.map((line) => ({
      type: "bar",
      name: line.name,
      stack: stacked ? "all" : undefined,
      barMaxWidth: 40,
      barCategoryGap: "28%",
      itemStyle: { color: lineColour(line), borderRadius: stacked ? 0 : [2, 2, 0, 0] },
      emphasis: { itemStyle: { color: lineColour(line), opacity: 0.8 } },
      data: line.values.map((value, index) =>
        chart.running.includes(index) ? { value, itemStyle: { decal: hatch, opacity: 0.75 } } : value),
    }));
  }

  // The way to what is still running is drawn as a line of its own, dashed.
  function lines(chart) {
    const last = chart.running.length ? chart.running[0] : Infinity;
    return chart.lines.flatMap((asked, place) => {
      const few = asked.values.length <= 14 || chart.lines.length > 1 && asked.values.length <= 31;
      const line = (style, data) => ({
        type: "line",
        name: asked.name,
        symbol: MARKS[(asked.colour - 1) % MARKS.length],
        symbolSize: asked.quiet ? 3 : 6,
        showSymbol: few && !asked.quiet,
        triggerLineEvent: true,
        z: asked.quiet ? 1 : 3,
        lineStyle: { width: asked.quiet ? 1.5 : 2, ...style },
        itemStyle: { color: lineColour(asked) },
        data,
      });
      const whole = line(asked.quiet ? { type: [2, 3] } : {}, asked.values.map((value, index) => (index < last ? value : null)));
      if (chart.lines.length === 1 || (place === 0 && chart.lines.length === 2 && chart.lines[1].quiet)) whole.areaStyle = { opacity: 0.08 };
      if (last === Infinity) return [whole];
      return [whole, line({ type: [4, 4] }, asked.values.map((value, index) => (index >= last - 1 ? value : null)))];
    });
  }

  const frame = () => ({
    transitionDuration: reducedMotion.matches ? 0 : 0.1,
    confine: true,
    backgroundColor: colour("surface-raised"),
    borderColor: colour("line-strong"),
    borderWidth: 1,
    padding: [6, 10],
    extraCssText: "box-shadow: none; border-radius: 6px;",
    textStyle: { color: colour("text"), fontSize: 12 },
  });

  function options(chart) {
    const fontFamily = getComputedStyle(document.body).fontFamily;
    const axisText = { color: colour("muted"), fontSize: 12, fontFamily };
    const isLine = chart.kind === "line";
    return {
      animation: false,
      aria: { enabled: false, decal: { show: false } },
      textStyle: { fontFamily },
      grid: { left: 44, right: 16, top: 12, bottom: 24, outerBoundsMode: "none" },
      xAxis: {
        type: "category",
        data: chart.ticks,
        boundaryGap: !isLine,
        axisLine: { onZero: true, lineStyle: { color: colour("line-strong") } },
        axisTick: { show: false },
        axisLabel: { ...axisText, hideOverlap: true, margin: 8, alignMaxLabel: isLine ? "right" : undefined },
      },
      yAxis: {
        type: "value",
        min: chart.kind === "stack" ? undefined : (range) => Math.min(0, range.min),
        max: chart.is_share ? (range) => (range.max > 0.75 ? 1 : null) : undefined,
        minInterval: chart.is_share ? undefined : 1,
        splitNumber: chart.is_share ? 5 : 4,
        splitLine: { lineStyle: { color: colour("line") } },
        axisLabel: { ...axisText, formatter: chart.is_share ? inPercent : inShort, margin: 8 },
      },
      tooltip: {
        ...frame(),
        trigger: "axis",
        axisPointer: { type: isLine ? "line" : "shadow", lineStyle: { color: colour("line-strong") }, shadowStyle: { color: colour("line"), opacity: 0.5 } },
        formatter: (points) => tooltip(chart, points[0].dataIndex),
      },
      series: isLine ? lines(chart) : bars(chart),
    };
  }

  // Where persons go from column to column; hovering a node or a flow lights what belongs to it.
  function flows(chart) {
    const fontFamily = getComputedStyle(document.body).fontFamily;
    const told = (one) => {
      const box = document.createElement("div");
      box.className = "tooltip";
      box.textContent = one.label;
      box.appendChild(document.createElement("div")).textContent = one.told;
      return box;
    };
    const by = (point) => (point.dataType === "edge" ? chart.flows : chart.nodes)[point.dataIndex];
    return {
      animation: false,
      textStyle: { fontFamily },
      tooltip: { ...frame(), trigger: "item", formatter: (point) => told(by(point)) },
      series: [{
        type: "sankey",
        left: 8,
        right: 132,
        top: 12,
        bottom: 12,
        nodeWidth: 10,
        nodeGap: 14,
        draggable: false,
        layoutIterations: 32,
        emphasis: { focus: "adjacency" },
        lineStyle: { color: "source", opacity: 0.28, curveness: 0.5 },
        label: { color: colour("text"), fontSize: 12, fontFamily, width: 120, overflow: "truncate", formatter: (point) => chart.nodes[point.dataIndex].name },
        data: chart.nodes.map((node) => ({ name: node.id, depth: node.column, itemStyle: { color: colour(`series-${node.colour}`), borderWidth: 0 } })),
        links: chart.flows.map((flow) => ({ source: flow.source, target: flow.target, value: flow.value })),
      }],
    };
  }

  // A click on a point does what its number in the table does.
  function pressed(element, chart, point) {
    let name = null;
    if (chart.kind === "flows") name = `${point.dataType === "edge" ? "flow" : "node"}-${point.dataIndex}`;
    else if (point.dataIndex !== undefined) {
      // Two drawn lines, one of them dashed, are one line of the chart.
      const parts = chart.kind === "line" && chart.running.length ? 2 : 1;
      name = `${Math.floor(point.seriesIndex / parts)}-${point.dataIndex}`;
    }
    element.closest("[data-figure]")?.querySelector(`[data-point="${name}"]`)?.click();
  }

  const sizes = new ResizeObserver((entries) => {
    for (const entry of entries) echarts.getInstanceByDom(entry.target)?.resize();
  });

  function draw(element) {
    const asked = JSON.parse(element.dataset.chart);
    let chart = echarts.getInstanceByDom(element);
    if (!chart) {
      chart = echarts.init(element, null, { renderer: "svg" });
      const indexAt = (event) => chart.convertFromPixel({ seriesIndex: 0 }, [event.offsetX, event.offsetY])[0];
      if (asked.kind === "flows" || asked.lines.length > 1) {
        chart.on("click", (point) => {
          // A line between two of its points belongs to the nearer one.
          if (asked.kind !== "flows") point.dataIndex ??= indexAt(point.event);
          pressed(element, asked, point);
        });
      } else {
        // With one line, anywhere above a point is that point.
        chart.getZr().on("click", (event) => pressed(element, asked, { seriesIndex: 0, dataIndex: indexAt(event) }));
      }
    }
    chart.setOption(asked.kind === "flows" ? flows(asked) : options(asked), true);
    sizes.observe(element);
  }

  function within(root) {
    return root.matches?.("[data-chart]") ? [root] : [...root.querySelectorAll("[data-chart]")];
  }

  const drawAll = () => within(document).forEach(draw);
  darkScheme.addEventListener("change", drawAll);
  reducedMotion.addEventListener("change", drawAll);
  // A figure that is replaced leaves its chart behind: without this the old one stays in memory.
  document.addEventListener("htmx:beforeCleanupElement", (event) => {
    const chart = event.target.dataset?.chart && echarts.getInstanceByDom(event.target);
    if (chart) {
      sizes.unobserve(event.target);
      chart.dispose();
    }
  });
  htmx.onLoad((root) => within(root).forEach(draw));
})();
