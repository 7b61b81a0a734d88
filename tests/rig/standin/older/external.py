class ExternalEventProcessor:
    """Made manual events in Frigate up to 0.15."""
