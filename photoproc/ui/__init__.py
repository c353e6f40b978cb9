"""What only Streamlit needs: components, widgets, state of a session."""
