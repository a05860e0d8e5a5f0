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

  function tooltip(series, index) {
    const box = document.createElement("div");
    box.className = "tooltip";
    const day = box.appendChild(document.createElement("div"));
    day.textContent = series.labels[index] + (index === series.running ? ", still running" : "");
    const count = box.appendChild(document.createElement("div"));
    const number = count.appendChild(document.createElement("strong"));
    number.textContent = inFull(series.values[index]);
    count.append(` ${series.units[series.values[index] === 1 ? 0 : 1]}`);
    return box;
  }

  function bars(series) {
    const hatch = { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [2, 3], rotation: -Math.PI / 4, color: colour("surface") };
    return [
      {
        type: "bar",
        barMaxWidth: 40,
        barCategoryGap: "28%",
        itemStyle: { color: colour("series-1"), borderRadius: [2, 2, 0, 0] },
        emphasis: { itemStyle: { color: colour("series-1"), opacity: 0.8 } },
        data: series.values.map((value, index) =>
          index === series.running ? { value, itemStyle: { decal: hatch, opacity: 0.75 } } : value),
      },
    ];
  }

  // The way to the running day is drawn as a line of its own, dashed.
  function lines(series) {
    const last = series.running === null ? series.values.length : series.running;
    const line = (style, data) => ({
      type: "line",
      symbol: "circle",
      symbolSize: 5,
      showSymbol: series.values.length <= 7,
      lineStyle: { width: 2, ...style },
      itemStyle: { color: colour("series-1") },
      data,
    });
    const whole = line({}, series.values.map((value, index) => (index < last ? value : null)));
    whole.areaStyle = { opacity: 0.08 };
    const running = line({ type: [4, 4] }, series.values.map((value, index) => (index >= last - 1 ? value : null)));
    return series.running === null ? [whole] : [whole, running];
  }

  function options(series) {
    const fontFamily = getComputedStyle(document.body).fontFamily;
    const axisText = { color: colour("muted"), fontSize: 12, fontFamily };
    return {
      animation: false,
      aria: { enabled: false, decal: { show: false } },
      textStyle: { fontFamily },
      grid: { left: 44, right: 16, top: 12, bottom: 24, outerBoundsMode: "none" },
      xAxis: {
        type: "category",
        data: series.ticks,
        boundaryGap: series.kind === "bar",
        axisLine: { lineStyle: { color: colour("line-strong") } },
        axisTick: { show: false },
        axisLabel: { ...axisText, hideOverlap: true, margin: 8 },
      },
      yAxis: {
        type: "value",
        min: 0,
        minInterval: 1,
        splitNumber: 4,
        splitLine: { lineStyle: { color: colour("line") } },
        axisLabel: { ...axisText, formatter: inShort, margin: 8 },
      },
      tooltip: {
        trigger: "axis",
        confine: true,
        transitionDuration: reducedMotion.matches ? 0 : 0.1,
        backgroundColor: colour("surface-raised"),
        borderColor: colour("line-strong"),
        borderWidth: 1,
        padding: [6, 10],
        extraCssText: "box-shadow: none; border-radius: 6px;",
        textStyle: { color: colour("text"), fontSize: 12 },
        axisPointer: { type: series.kind === "bar" ? "shadow" : "line", lineStyle: { color: colour("line-strong") }, shadowStyle: { color: colour("line"), opacity: 0.5 } },
        formatter: (points) => tooltip(series, points[0].dataIndex),
      },
      series: series.kind === "bar" ? bars(series) : lines(series),
    };
  }

  const sizes = new ResizeObserver((entries) => {
    for (const entry of entries) echarts.getInstanceByDom(entry.target)?.resize();
  });

  function draw(element) {
    const series = JSON.parse(element.dataset.chart);
    const chart = echarts.getInstanceByDom(element) ?? echarts.init(element, null, { renderer: "svg" });
    chart.setOption(options(series), true);
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
