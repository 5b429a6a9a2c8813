"""How a trained model is judged, and the data of the figures."""
