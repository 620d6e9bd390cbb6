"""Define the colors of Grafana's dark theme, by the names that the dashboards use."""

BACK, CARD, TEXT, FAINT = "#111217", "#181b1f", "#d8d9da", "#7d828a"
NAMED = {
    "green": "#3a8f45",
    "yellow": "#c9a800",
    "orange": "#d9730d",
    "red": "#c4283a",
    "blue": "#2b5fa8",
}
CYCLE = (
    *("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#ffa6b0"),
    *("#96d98d", "#fade2a", "#c0d8ff", "#ffcb7d", "#ca95e5", "#37872d", "#1f60c4", "#8f3bb8"),
)
